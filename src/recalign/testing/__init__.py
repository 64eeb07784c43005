"""Shipped with the library so that users can test their own scorers and backbones."""
