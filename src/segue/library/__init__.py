"""A library of recordings: folders that are scanned and watched, worker processes that listen, encoders kept up with it."""
