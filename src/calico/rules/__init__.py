"""What the calculation says, as nf_tables objects; and an evaluator that answers whether a packet would pass."""
