"""What the tests share: identities, pictures, running servers."""
