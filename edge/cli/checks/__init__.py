"""The rows of `endoedge check`, one file for each kind of thing that is looked at."""
