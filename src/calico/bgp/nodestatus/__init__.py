"""CalicoNodeStatus: what this host's agent fills in when somebody asks by a resource."""
