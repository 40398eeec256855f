package io.mobilemod.app

import android.content.Context
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.Manifest
import io.mobilemod.core.ModelFile
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.hex
import java.io.File
import java.io.IOException
import java.security.DigestInputStream
import java.security.MessageDigest

/** The bundle in the app's assets; the only place that knows where it lies. */
class ModelStore(
    private val context: Context,
) {
    /** The bundle's manifest; throws `IOException` or `JsonException` where there is none to read. */
    val manifest: Manifest by lazy {
        Manifest.parse(context.assets.open("$FOLDER/$MANIFEST").use { it.readBytes().decodeToString() })
    }

    /** The model as a file, which the runtimes map into memory: copied out of the assets once. */
    fun model(file: ModelFile): File {
        val folder = File(context.noBackupFilesDir, "models/${file.sha256}")
        val target = File(folder, file.file)
        if (target.length() == file.bytes) return target
        folder.mkdirs()
        val part = File(folder, "${file.file}.part")
        val digest = MessageDigest.getInstance("SHA-256")
        DigestInputStream(context.assets.open("$FOLDER/${file.file}"), digest).use { from ->
            part.outputStream().use { from.copyTo(it) }
        }
        if (digest.digest().hex() != file.sha256) {
            part.delete()
            throw IOException("${file.file} is not the file of its manifest (sha256 differs)")
        }
        if (!part.renameTo(target)) throw IOException("$target can't be written")
        return target
    }

    /** Loads what is chosen. */
    fun open(choice: Choice): Engine {
        val shape = Preprocessor(manifest.preprocess).inputShape
        return Engines.open(LoadRequest(model(choice.file), choice.file.target, choice.threads, choice.delegate, shape))
    }

    /** A golden image of the manifest, decoded. */
    fun golden(image: String): DecodedImage = Images.decode(context.assets.open("$FOLDER/$image").use { it.readBytes() })

    private companion object {
        const val FOLDER = "model"
        const val MANIFEST = "manifest.json"
    }
}
