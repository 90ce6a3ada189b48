"""What a recording tells: pure functions from its columns to tables, pictures, pages and other programs' formats."""
