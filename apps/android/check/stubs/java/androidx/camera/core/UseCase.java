// androidx/androidx, camera/camera-core/api/1.5.0-beta01.txt at a9b06aaf32dbcf83aa12e3f8185a109d14fbe8e9.
package androidx.camera.core;

public abstract class UseCase {}
