"""Felix's configuration: parameters, where each value came from, and what is wrong with what was given."""
