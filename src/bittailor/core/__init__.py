"""Equations and integers, no policy: formats, arithmetic, operators, cells, graphs, networks, plans, programs."""
