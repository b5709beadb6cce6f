"""One plugin per platform; each translates its platform's API into Calico's data model."""
