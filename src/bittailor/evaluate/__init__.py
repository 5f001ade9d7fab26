"""From a genome to values: metrics, objectives, the evaluator, early stopping, sensitivity."""
