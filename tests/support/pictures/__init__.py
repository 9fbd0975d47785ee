"""Pictures of all kinds, hostile pictures, and picture workers."""
