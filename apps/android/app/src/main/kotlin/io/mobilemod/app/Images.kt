package io.mobilemod.app

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.graphics.Matrix
import android.media.ExifInterface
import io.mobilemod.core.DecodedImage
import java.io.ByteArrayInputStream
import java.io.IOException

/** Decodes image files with the platform's decoder. */
object Images {
    // Pixels that the shorter side keeps at least.
    private const val PREVIEW_SIDE = 1024
    private const val THUMBNAIL_SIDE = 160

    /**
     * The pixels of [bytes] in sRGB with their EXIF orientation; throws `IOException` for what the
     * phone can't decode. With [shortSide], as much smaller as a power of two allows while the shorter
     * side keeps that many pixels.
     */
    fun decode(
        bytes: ByteArray,
        shortSide: Int? = null,
    ): DecodedImage {
        // The colour of transparent pixels is kept, as it is where the model was validated.
        val bitmap = bitmap(bytes, shortSide, premultiplied = false)
        val argb = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return DecodedImage(bitmap.width, bitmap.height, argb, orientation(bytes)).also { bitmap.recycle() }
    }

    /** An upright bitmap of [bytes], to be shown on the screen. */
    fun preview(bytes: ByteArray): Bitmap = upright(bytes, PREVIEW_SIDE)

    /** As [preview], to be shown small. */
    fun thumbnail(bytes: ByteArray): Bitmap = upright(bytes, THUMBNAIL_SIDE)

    private fun upright(
        bytes: ByteArray,
        side: Int,
    ): Bitmap {
        // A canvas refuses transparent bitmaps that aren't premultiplied.
        val bitmap = bitmap(bytes, side, premultiplied = true)
        val matrix = Matrix()
        val orientation = orientation(bytes)
        if (orientation in FLIPPED) matrix.postScale(-1f, 1f)
        matrix.postRotate(TURNS[orientation] ?: 0f)
        return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, true)
    }

    private fun bitmap(
        bytes: ByteArray,
        shortSide: Int?,
        premultiplied: Boolean,
    ): Bitmap {
        val options = BitmapFactory.Options()
        if (shortSide != null) options.inSampleSize = sampleSize(bytes, shortSide)
        options.inPreferredConfig = Bitmap.Config.ARGB_8888
        options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
        options.inPremultiplied = premultiplied
        return BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options)
            ?: throw IOException("no image that this phone can decode")
    }

    private fun sampleSize(
        bytes: ByteArray,
        shortSide: Int,
    ): Int {
        val bounds = BitmapFactory.Options()
        bounds.inJustDecodeBounds = true
        BitmapFactory.decodeByteArray(bytes, 0, bytes.size, bounds)
        var size = 1
        while (minOf(bounds.outWidth, bounds.outHeight) / (2 * size) >= shortSide) size *= 2
        return size
    }

    private fun orientation(bytes: ByteArray): Int =
        try {
            ExifInterface(ByteArrayInputStream(bytes)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
        } catch (_: IOException) {
            // A format that has no EXIF.
            1
        }

    // Mirrored first, then turned clockwise: EXIF 2.32, tag 0x0112.
    private val FLIPPED = setOf(2, 4, 5, 7)
    private val TURNS = mapOf(3 to 180f, 4 to 180f, 5 to 270f, 6 to 90f, 7 to 90f, 8 to 270f)
}
