"""From a genome to values: metrics, objectives, the evaluator, racing, certificates, sensitivity."""
