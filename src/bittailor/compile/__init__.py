"""The one compiler: from a graph, then a program, to what engines and exporters print and run."""
