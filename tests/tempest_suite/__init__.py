"""OpenStack's own API tests against Neutron with the driver, behind a real Keystone: ``make tempest``."""
