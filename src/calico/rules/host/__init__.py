"""Host endpoints in the table: whose interface is whose, their chains, their elements, their failsafe ports. Pure."""
