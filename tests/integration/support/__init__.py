"""What the plays share: programs under test (programs), their CQL on the wire (wire) and their metrics (exposition)."""
