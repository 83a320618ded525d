"""The tour: a gateway on this machine, a key to try it with, and one call to paste. It is `dev.py run`.

It starts `tunegate serve` as an operator would and asks it over its own two ports; what it knows of the
gateway is the configuration file. It keeps an admin key and a virtual key for development in the data
folder. It is no way to run a gateway in earnest: keys lie in a file and are printed.
Read `__main__.py` first.
"""
