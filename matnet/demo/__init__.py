"""`matnet demo`: a page in the browser that shows what a network is and what it makes of an image."""
