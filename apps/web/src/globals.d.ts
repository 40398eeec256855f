/** Set by vite.config.ts. */
declare const LITERT_VERSION: string;
declare const RUNTIME_FOLDER: string;
declare const APP_VERSION: string;
/** Of each of the runtime's files, by its name. */
declare const RUNTIME_BYTES: Readonly<Record<string, number>>;
