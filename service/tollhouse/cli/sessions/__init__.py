"""`tollhouse sessions`: its commands, and the tables and sentences that they print."""
