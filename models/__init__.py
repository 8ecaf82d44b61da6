"""What a face is: the morphable model, its file formats and the store."""
