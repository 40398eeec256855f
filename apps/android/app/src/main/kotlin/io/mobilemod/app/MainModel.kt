package io.mobilemod.app

import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import android.os.Handler
import android.os.Looper
import androidx.lifecycle.ViewModel
import io.mobilemod.core.Classification
import io.mobilemod.core.Classifier
import io.mobilemod.core.Compared
import io.mobilemod.core.Comparison
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.FrameRate
import io.mobilemod.core.ModelFile
import io.mobilemod.core.Summary
import java.io.IOException
import java.util.concurrent.Executor
import java.util.concurrent.Executors

/** What one file says of the picture, and how long its inferences take. */
class Answer(
    val file: ModelFile,
    val found: Classification,
    val latency: Summary?,
)

/** What the main screen shows. [picture]: a chosen one; null: the camera's. */
class Shown(
    val message: String? = null,
    val picture: Bitmap? = null,
    val answers: List<Answer> = emptyList(),
    val compared: Compared? = null,
    val framesPerSecond: Double? = null,
    val mirrored: Boolean = false,
)

/**
 * The main screen's model, picture and answers, which outlive a rotation. Models load, run and close on
 * one thread; everything else is called on the main thread, where [screen] is told what to show.
 */
class MainModel : ViewModel() {
    private val worker = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())
    private lateinit var context: Context

    // Set on the main thread, read by the worker too.
    @Volatile
    private var loaded: Pair<Choice, ModelFile?>? = null

    /** Where frames are to be given to [watch]. */
    val executor: Executor get() = worker

    lateinit var store: ModelStore
        private set

    var shown = Shown()
        private set

    /** Whether the other precision is to run beside the chosen file. */
    var comparing = false

    /** Told of every new [shown]; null while there is no screen. */
    var screen: ((Shown) -> Unit)? = null

    /** The picture that is shown instead of the camera's. */
    @Volatile
    var picked: Uri? = null
        private set

    // Counts pictures and models: an answer to what is gone isn't shown.
    @Volatile
    private var turn = 0

    // Touched by the worker alone.
    private val rate = FrameRate()
    private var classifier: Classifier? = null
    private var comparison: Comparison? = null

    /** Before anything else; [context] may be an activity's. */
    fun prepare(context: Context) {
        if (this::context.isInitialized) return
        this.context = context.applicationContext
        store = ModelStore(this.context)
    }

    /** Loads [choice], and [beside] to run on the same pictures; nothing where these are loaded. */
    fun load(
        choice: Choice,
        beside: ModelFile?,
    ) {
        if (loaded == choice to beside) return
        loaded = choice to beside
        val names = listOfNotNull(choice.file, beside).joinToString { it.file }
        change(Shown(context.getString(R.string.loading, names), shown.picture))
        worker.execute {
            close()
            val problem =
                try {
                    open(choice, beside)
                } catch (error: Exception) {
                    close()
                    context.getString(R.string.model_failed, names, error.message)
                }
            main.post {
                if (loaded == choice to beside) {
                    change(Shown(problem, shown.picture))
                    picked?.let(::show)
                }
            }
        }
    }

    /** Closes the models; [load] may follow. */
    fun unload() {
        loaded = null
        turn++
        worker.execute { close() }
    }

    /** Shows and classifies the picture at [uri] instead of the camera's. */
    fun show(uri: Uri) {
        picked = uri
        val asked = change(Shown(shown.message, shown.picture))
        worker.execute {
            try {
                val bytes = read(uri)
                // Twice the network's longer side keeps the antialiased resize meaningful and the memory small.
                val image = Images.decode(bytes, 2 * store.manifest.preprocess.run { maxOf(height, width) })
                val preview = Images.preview(bytes)
                rate.clear()
                main.post { if (asked == turn) tell(Shown(shown.message, preview)) }
                answer(image, asked, preview, mirrored = false)
            } catch (error: Exception) {
                val text = context.getString(R.string.image_failed, error.message)
                main.post { if (asked == turn) tell(Shown(text)) }
            }
        }
    }

    /** Back to the camera's picture. */
    fun leavePicture() {
        picked = null
        change(Shown())
    }

    /** A camera's frame, on [executor]. */
    fun watch(
        frame: DecodedImage,
        mirrored: Boolean,
    ) {
        val asked = turn
        // A frame may have waited while an image was picked.
        if (picked != null) return
        rate.add(System.nanoTime())
        answer(frame, asked, null, mirrored)
    }

    override fun onCleared() {
        screen = null
        unload()
        worker.shutdown()
    }

    private fun read(uri: Uri): ByteArray {
        if (uri.scheme == SAMPLE) return store.goldenBytes(uri.schemeSpecificPart)
        return context.contentResolver.openInputStream(uri)?.use { it.readBytes() } ?: throw IOException("it can't be opened")
    }

    // On the worker.
    private fun open(
        choice: Choice,
        beside: ModelFile?,
    ): String? {
        val manifest = store.manifest
        val first = Classifier(manifest, choice.file, store.open(this, choice))
        classifier = first
        if (beside != null) {
            comparison = Comparison(first, Classifier(manifest, beside, store.open(this, choice.copy(file = beside))))
        }
        return manifest.versionWarning(choice.file.target, Engines.version(choice.file.target))
    }

    // On the worker.
    private fun close() {
        classifier = null
        comparison = null
        Engines.holder.closeAll(this)
    }

    // On the worker. A photo's map has smooth borders; there is no time for that between frames.
    private fun answer(
        image: DecodedImage,
        asked: Int,
        picture: Bitmap?,
        mirrored: Boolean,
    ) {
        val (choice, beside) = loaded ?: return
        try {
            val both = comparison?.classify(image, smooth = picture != null)
            val found = both?.first ?: classifier?.classify(image, smooth = picture != null) ?: return
            val answers = arrayListOf(Answer(choice.file, found, classifier?.latency()))
            if (both != null && beside != null) answers.add(Answer(beside, both.second, comparison?.second?.latency()))
            val framesPerSecond = rate.perSecond()
            main.post { if (asked == turn) tell(Shown(shown.message, picture, answers, both, framesPerSecond, mirrored)) }
        } catch (error: Exception) {
            main.post { if (asked == turn) tell(Shown(error.message, picture)) }
        }
    }

    /** Another picture or model: what was said of the one before goes with it. */
    private fun change(now: Shown): Int {
        tell(now)
        return ++turn
    }

    private fun tell(now: Shown) {
        shown = now
        screen?.invoke(now)
    }

    companion object {
        private const val SAMPLE = "sample"

        /** The picture of a golden image of the bundle. */
        fun sample(image: String): Uri = Uri.fromParts(SAMPLE, image, null)
    }
}
