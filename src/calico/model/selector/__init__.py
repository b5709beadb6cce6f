"""The selector language: lexing, parsing, evaluation, canonical form and unique ids."""

from calico.model.selector.canonical import unique_id
from calico.model.selector.restrictions import Restriction
from calico.model.selector.selector import Selector, parse, selector_of

__all__ = ["Restriction", "Selector", "parse", "selector_of", "unique_id"]
