"""Who may do what: the roles and acts of casework's matrix, under the names that routes use.

Every route names the permission it needs. The matrix itself is configuration, and `casework.authority` its only reader.
"""

from __future__ import annotations

from casework.authority import Act as Permission
from casework.authority import Authority, Role

__all__ = ["Authority", "Permission", "Role"]
