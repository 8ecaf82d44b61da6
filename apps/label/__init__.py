"""The command that labels folders of photos: batch fitting into a dataset that training code reads."""
