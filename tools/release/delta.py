"""x"""

HELP = "x"


def arguments(p):
    pass
