package io.mobilemod.app

import android.app.Activity
import android.content.Intent
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import androidx.test.platform.app.InstrumentationRegistry
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.harness.Lines
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.topK
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import java.io.File

/** The app on a phone or an emulator, with the bundle that is built into it. */
class AppTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val context = instrumentation.targetContext
    private val store = ModelStore(context)
    private val files = store.manifest.runnable(Engines.TARGETS)

    @Test
    fun launches() =
        use(Intent(context, MainActivity::class.java)) { activity ->
            await("its content") { activity.findViewById<View>(android.R.id.content).isShown }
            assertFalse(activity.isFinishing)
        }

    @Test
    fun selfTestPasses() =
        use(Intent(context, SelfTestActivity::class.java)) { activity ->
            val button = activity.findViewById<View>(R.id.run)
            instrumentation.runOnMainSync { button.performClick() }
            await("the end of the self-test") { button.isEnabled }
            val outcomes = activity.findViewById<ViewGroup>(R.id.outcomes)
            val lines = texts(outcomes)
            val failed = lines.filter { it.currentTextColor == context.getColor(R.color.fail) }
            assertEquals(emptyList<String>(), failed.map { it.text.toString() })
            val passed = lines.count { it.currentTextColor == context.getColor(R.color.pass) }
            assertEquals(files.size * store.manifest.golden.size, passed)
        }

    @Test
    fun goldenImagesHaveTheirClasses() {
        assumeTrue("a network of maps", store.manifest.map == null)
        val preprocessor = Preprocessor(store.manifest.preprocess)
        for (file in files) {
            val delegate = Engines.delegates(file.target).first()
            val request = LoadRequest(store.model(file), file.target, 1, delegate, preprocessor.inputShape)
            Phone(context).open(request).use { engine ->
                for (golden in store.manifest.golden) {
                    val pixels = preprocessor.asIs(store.golden(golden.image))
                    val expected = topK(golden.logits.getValue(file.file).toFloatArray(), 1).single()
                    val found = topK(engine.run(preprocessor.normalize(pixels, engine.layout)), 1).single()
                    assertEquals("${file.file}, ${golden.image}", expected.index, found.index)
                }
            }
        }
    }

    @Test
    fun theHarnessRunsAJob() {
        val job = GoldenJob(context, store, files.first())
        val record = File(context.getExternalFilesDir(null), "records/${job.id}.jsonl")
        val intent = Intent(context, HarnessActivity::class.java).putExtra("job", job.folder.path)

        fun lines() = if (record.isFile) record.readLines().mapNotNull(Lines::decode) else emptyList()
        try {
            use(intent) { await("the job's end") { lines().any { it["type"] in listOf("done", "error") } } }
            val lines = lines()
            assertEquals(emptyList<Any?>(), lines.filter { it["type"] == "error" }.map { it["message"] })
            val app = lines.first { it["type"] == "hello" }["app"] as Map<*, *>
            assertEquals(BuildConfig.BUILD_TYPE, app["build"])
            assertTrue(lines.count { it["type"] == "golden" } >= store.manifest.golden.size)
        } finally {
            job.folder.deleteRecursively()
            record.delete()
        }
    }

    private fun texts(view: View): List<TextView> =
        when (view) {
            is TextView -> listOf(view)
            is ViewGroup -> (0 until view.childCount).flatMap { view.getChildAt(it)?.let(::texts).orEmpty() }
            else -> emptyList()
        }

    private fun use(
        intent: Intent,
        test: (Activity) -> Unit,
    ) {
        val activity = instrumentation.startActivitySync(intent.addFlags(Intent.FLAG_ACTIVITY_NEW_TASK))
        try {
            test(activity)
        } finally {
            instrumentation.runOnMainSync { activity.finish() }
            instrumentation.waitForIdleSync()
        }
    }

    private fun await(
        what: String,
        holds: () -> Boolean,
    ) {
        val until = System.nanoTime() + PATIENCE
        while (!holds()) {
            if (System.nanoTime() > until) throw AssertionError("$what didn't come")
            Thread.sleep(STEP_MS)
        }
    }

    private companion object {
        const val PATIENCE = 120_000_000_000L
        const val STEP_MS = 100L
    }
}
