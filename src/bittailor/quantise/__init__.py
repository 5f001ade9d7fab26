"""From a float network to formats: calibration, the integers of weights, spaces of widths."""
