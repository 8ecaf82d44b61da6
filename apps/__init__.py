"""What people do with facefit: the commands and exporters."""
