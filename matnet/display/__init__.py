"""Displays a network: its table as data, text, HTML, SVG drawing or Graphviz dot."""
