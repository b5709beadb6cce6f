"""The protocol between runtime and plugin: requests, network configurations, results, errors. Pure."""
