"""`matnet demo`: a web page that shows networks and their results for images."""
