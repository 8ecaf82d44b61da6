"""How to find the face behind a picture."""
