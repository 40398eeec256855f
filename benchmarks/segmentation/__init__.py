"""What segmentation networks are measured by beside their files."""
