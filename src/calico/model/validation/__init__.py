"""What may be written: every field and combination of fields of every kind, judged before it is stored.

Stricter than reading: what is stored already is judged by ``calico.model.decoding``. Pure functions of one resource;
clashes between resources are found by the datastore.
"""

from calico.model.validation.report import FieldError, Report
from calico.model.validation.resource import validate

__all__ = ["FieldError", "Report", "validate"]
