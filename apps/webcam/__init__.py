"""The command `webcam`: a face followed live, from a camera or a video, shown, recorded and sent on."""
