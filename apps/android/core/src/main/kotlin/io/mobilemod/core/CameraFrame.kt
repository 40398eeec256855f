package io.mobilemod.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val OPAQUE = 255 shl 24
private const val GREEN = 255 shl 8

/**
 * A camera's frame of four bytes R, G, B, A a pixel, rows [rowStride] bytes apart, turned clockwise by
 * [rotation] degrees (a multiple of 90) to be upright. The buffer's position stays as it is.
 */
fun decodedFromRgba(
    buffer: ByteBuffer,
    width: Int,
    height: Int,
    rowStride: Int,
    rotation: Int,
): DecodedImage {
    val argb = IntArray(width * height)
    // A copy of the position and a byte order of its own: as little-endian numbers the pixels are A, B, G, R.
    val source = buffer.duplicate().order(ByteOrder.LITTLE_ENDIAN)
    for (y in 0 until height) {
        source.position(buffer.position() + y * rowStride)
        source.asIntBuffer().get(argb, y * width, width)
    }
    for (i in argb.indices) {
        val abgr = argb[i]
        argb[i] = OPAQUE or (abgr and 255 shl 16) or (abgr and GREEN) or (abgr shr 16 and 255)
    }
    return DecodedImage(width, height, argb, orientationOf(rotation))
}

/** EXIF's orientation for an image that must be turned clockwise by [rotation] degrees. */
fun orientationOf(rotation: Int): Int =
    when (Math.floorMod(rotation, 360)) {
        0 -> 1
        90 -> 6
        180 -> 3
        270 -> 8
        else -> throw IllegalArgumentException("rotation $rotation is not a multiple of 90")
    }
