"""An instance's services as the objects of a cluster: plain values, and the text of files."""
