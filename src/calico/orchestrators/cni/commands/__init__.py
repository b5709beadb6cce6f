"""The commands of the plugin, one file each, and what they share."""
