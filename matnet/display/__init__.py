"""Showing a network: its table as data, and that table as text, HTML, SVG drawing or Graphviz dot."""
