"""From a genome to objectives: metrics, objectives, the evaluator, early stopping, sensitivity."""
