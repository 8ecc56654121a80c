"""What the tests share: sites, clients, servers and programs."""
