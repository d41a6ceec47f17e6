"""What administrators of a cache use: statistics, walks over its entries, and their inspection."""
