"""Readers and writers of morphable model files, one format a module."""
