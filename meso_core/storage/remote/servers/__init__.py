"""What is asked of a server, and the kinds of server that answer: S3, SFTP, and the memory of this process."""
