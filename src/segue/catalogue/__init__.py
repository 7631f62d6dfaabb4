"""What is known of items: near-duplicates, and later the scan of music folders."""
