"""Where the primary is: from Sentinels, from a list of servers, or from the URL alone."""
