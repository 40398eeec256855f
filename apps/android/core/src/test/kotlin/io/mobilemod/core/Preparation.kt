package io.mobilemod.core

import java.io.File
import java.security.MessageDigest

/**
 * How long preprocessing takes on the JVM: `PreparationKt FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json`.
 * FILE.rgb holds uint8 R, G, B of each pixel, row by row. Prints an object with the `milliseconds` of each
 * repeat, from the decoded image to the prepared uint8 pixels, and the `sha256` of these (height, width, 3).
 * `apps/android/check/preparation.py` compiles and runs it.
 */
fun main(arguments: Array<String>) {
    val (file, width, height, repeats, manifest) = arguments
    val spec = Manifest.parse(File(manifest).readText()).preprocess
    val image = decodedFromRgb(File(file).readBytes(), width.toInt(), height.toInt())
    val preprocessor = Preprocessor(spec)
    var pixels = ByteArray(0)
    val milliseconds =
        List(repeats.toInt()) {
            val began = System.nanoTime()
            pixels = preprocessor.pixels(image)
            (System.nanoTime() - began) / 1e6
        }
    val sha256 = MessageDigest.getInstance("SHA-256").digest(pixels).hex()
    println(Json.write(mapOf("milliseconds" to milliseconds, "sha256" to sha256)))
}

private fun decodedFromRgb(
    bytes: ByteArray,
    width: Int,
    height: Int,
): DecodedImage {
    require(bytes.size == 3 * width * height) { "${bytes.size} bytes are not $width x $height pixels of three" }

    fun byte(at: Int) = bytes[at].toInt() and 255
    return DecodedImage(width, height, IntArray(width * height) { (byte(3 * it) shl 16) or (byte(3 * it + 1) shl 8) or byte(3 * it + 2) })
}
