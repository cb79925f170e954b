"""SS-BSN and AP-BSN as their papers describe them, and a U-Net: tensors in, tensors out.

Importing the package registers the architecture of each file in it.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
