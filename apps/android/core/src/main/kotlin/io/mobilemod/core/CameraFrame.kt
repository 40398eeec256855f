package io.mobilemod.core

import java.nio.ByteBuffer

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
    val row = ByteArray(4 * width)
    val source = buffer.duplicate()
    for (y in 0 until height) {
        source.position(buffer.position() + y * rowStride)
        source.get(row)
        for (x in 0 until width) {
            val r = row[4 * x].toInt() and 255
            val g = row[4 * x + 1].toInt() and 255
            val b = row[4 * x + 2].toInt() and 255
            argb[y * width + x] = (255 shl 24) or (r shl 16) or (g shl 8) or b
        }
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
